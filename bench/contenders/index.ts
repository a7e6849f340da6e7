// What is compared. All run with their defaults but for what `setting` says; none of them logs per connection.
import { bore } from './bore.ts'
import { floor, hop, hops } from './bun.ts'
import { chisel } from './chisel.ts'
import type { Contender } from './contender.ts'
import { direct } from './direct.ts'
import { frp } from './frp.ts'
import { haproxy } from './haproxy.ts'
import { rathole } from './rathole.ts'
import { ssh } from './ssh.ts'
import { stunnel } from './stunnel.ts'
import { WARRENS } from './warren.ts'

export { type Contender, missing, ownFolder, type Setup, setupFor } from './contender.ts'
export { warrenBinary } from './warren.ts'

export const CONTENDERS: readonly Contender[] = [
  ...WARRENS,
  direct,
  floor,
  hop,
  hops,
  haproxy,
  stunnel,
  ssh('ssh', 'ssh -R', 'chacha20-poly1305', []),
  ssh('ssh-gcm', 'ssh -R aes128-gcm', 'aes128-gcm', ['-c', 'aes128-gcm@openssh.com']),
  rathole('rathole-tls', 'rathole TLS', true),
  rathole('rathole', 'rathole plain', false),
  frp('frp', 'frp', true),
  frp('frp-nomux', 'frp without mux', false),
  chisel,
  bore,
]
