// The door of the place where sessions and sockets meet, for relay and agent alike.
export { type Break, Carrier } from './carrier.ts'
export { type OnDone, Splice } from './splice.ts'
