// The one door to sockets: nothing outside this folder touches Bun.listen, Bun.connect, node:net or node:tls.
export { isLocalhost, isLoopback } from './address.ts'
export { Connection, type Ended, type Handler, release } from './connection.ts'
export { descriptors } from './descriptors.ts'
export {
  type Dialing,
  type Dialled,
  type DialledTls,
  type DialTlsOptions,
  dial,
  dialTls,
  type Target,
} from './dial.ts'
export type { DialFailure, NotDialled } from './failure.ts'
export { holdingFolder } from './libc.ts'
export { type Listener, type ListenOptions, listen } from './listen.ts'
export { listeningPorts } from './listeners.ts'
export type { Path } from './path.ts'
export { type ListenTlsOptions, listenTls, refuseUnsafeEnvironment } from './tls.ts'
