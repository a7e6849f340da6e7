// The door of the relay.
export { HOLDS } from './holds.ts'
export { type Relay, type RelayOptions, startRelay } from './relay.ts'
