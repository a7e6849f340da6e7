// Another implementation of Ed25519, which tests hold the one in use against, and make keys with.
import { createHash } from 'node:crypto'
import * as ed25519 from '@noble/ed25519'

ed25519.hashes.sha512 = message => new Uint8Array(createHash('sha512').update(message).digest())

export * from '@noble/ed25519'
