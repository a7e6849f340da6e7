// Bun calls one handler object per kind of socket; these two serve all of the process. Each call goes to `socket.data`:
// a listener's acceptor or a dial's attempt until the socket is open, a Connection from then on.

export type Socket = Bun.Socket<Owner>

/** What `socket.data` is. */
export interface Owner {
  onOpen(socket: Socket): void
  /** TLS only; `ok` is false for a certificate that no authority signed, too. */
  onHandshake(socket: Socket, ok: boolean, error: Error | null): void
  onData(buf: Buffer): void
  onDrain(): void
  onEnd(): void
  /** Exactly once for every socket that was opened; its descriptor is free now. */
  onClose(error: Error | undefined): void
  /** A TLS record that does not decrypt, an alert of the peer, or something that one of these calls threw. */
  onError(error: Error): void
  /** A dial that never opened. */
  onConnectError(error: Error): void
}

export const PLAIN: Bun.SocketHandler<Owner> = {
  binaryType: 'buffer',
  open(socket) {
    socket.data.onOpen(socket)
  },
  data(socket, buf) {
    socket.data.onData(buf)
  },
  drain(socket) {
    socket.data.onDrain()
  },
  end(socket) {
    socket.data.onEnd()
  },
  close(socket, error) {
    socket.data.onClose(error)
  },
  error(socket, error) {
    socket.data.onError(error)
  },
  connectError(socket, error) {
    socket.data.onConnectError(error)
  },
}

/** With a `handshake` handler Bun calls `open` before the handshake, and nothing else until it is done. */
export const SECURE: Bun.SocketHandler<Owner> = {
  ...PLAIN,
  handshake(socket, ok, error) {
    socket.data.onHandshake(socket, ok, error)
  },
}

/** Whether an error is the TLS layer's, and not one that a handler threw. */
export function isTlsError(error: Error): boolean {
  return 'code' in error && error.code === 'EPROTO'
}
