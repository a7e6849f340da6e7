// The door of the relay.
export { type Relay, type RelayOptions, startRelay } from './relay.ts'
