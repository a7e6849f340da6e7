import { describe, expect, test } from 'bun:test'
import { EXPORTER_LENGTH, exporterLabel, type Label, type Role, transcript, verify } from '../../src/identity/index.ts'
import vectors from '../vectors/transcript.json'

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

describe('transcript', () => {
  test('is that of the vectors, byte for byte', () => {
    for (const vector of vectors.cases) {
      const label = vector.label as Label
      const signed = transcript(
        label,
        vector.role as Role,
        bytes(vector.exporter),
        bytes(vector.relayKeyHash),
        bytes(vector.body),
      )
      expect(Buffer.from(signed).toString('hex')).toBe(vector.transcript)
      expect(exporterLabel(label)).toBe(vector.exporterLabel)
      expect(verify(bytes(vector.signature), signed, bytes(vectors.publicKey))).toBe(true)
    }
  })

  test('a signature for one label, role, connection, relay or body is none for another', () => {
    const one = vectors.cases[0]
    if (one === undefined) throw new Error('no vector')
    const [exporter, relay, body] = [bytes(one.exporter), bytes(one.relayKeyHash), bytes(one.body)]
    const other = (of: Uint8Array) => Uint8Array.from(of, (byte, at) => (at === 0 ? byte ^ 1 : byte))
    const signature = bytes(one.signature)
    const good = (...input: Parameters<typeof transcript>) =>
      verify(signature, transcript(...input), bytes(vectors.publicKey))
    expect(good('init', 'agent', exporter, relay, body)).toBe(true)
    expect(good('resume', 'agent', exporter, relay, body)).toBe(false)
    expect(good('init', 'connector', exporter, relay, body)).toBe(false)
    expect(good('init', 'agent', other(exporter), relay, body)).toBe(false)
    expect(good('init', 'agent', exporter, other(relay), body)).toBe(false)
    expect(good('init', 'agent', exporter, relay, other(body))).toBe(false)
    expect(good('init', 'agent', exporter, relay, new Uint8Array([...body, 0]))).toBe(false)
  })

  test('an exporter or a relay key hash of another length is refused', () => {
    const [ok, body] = [new Uint8Array(EXPORTER_LENGTH), new Uint8Array(3)]
    for (const length of [0, 31, 33, 64]) {
      const wrong = new Uint8Array(length)
      expect(() => transcript('init', 'agent', wrong, ok, body)).toThrow(
        expect.objectContaining({ code: 'W-INTERNAL' }),
      )
      expect(() => transcript('init', 'agent', ok, wrong, body)).toThrow(
        expect.objectContaining({ code: 'W-INTERNAL' }),
      )
    }
  })
})
