// No tunnel.
import { type Contender, nothing } from './contender.ts'

export const direct: Contender = {
  id: 'direct',
  label: 'direct',
  encryption: null,
  setting: 'no tunnel: the limit',
  programs: [],
  install: '',
  version: async () => '',
  prepare: nothing,
  start: null,
}
