// The door of the place where sessions and sockets meet, for relay and agent alike.
export { Carrier } from './carrier.ts'
export { type OnDone, Splice } from './splice.ts'
