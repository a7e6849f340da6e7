// The one door to identities: keys and their files, invites, the relay's certificate, what a registration signs.
export type { Certificate } from './certificate.ts'
export { certificateKeyHash, loadOrCreateCertificate, makeCertificate } from './certificate.ts'
export { fileTrouble, placeFile, readStateFile, temporaryName, writeStateFile } from './file.ts'
export type { Invite } from './invite.ts'
export { formatInvite, hashToken, isInvitable, looksLikeInvite, newToken, parseInvite } from './invite.ts'
export type { KeyPair } from './keys.ts'
export {
  createKey,
  fingerprint,
  formatPublicKeyLine,
  isCanonicalKey,
  loadKey,
  loadOrCreateKey,
  looksLikeKeyLine,
  parsePublicKeyLine,
  verify,
} from './keys.ts'
export type { Label, Role } from './transcript.ts'
export { EXPORTER_LENGTH, exporterLabel, transcript } from './transcript.ts'
