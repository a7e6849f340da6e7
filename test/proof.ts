// One long proof of `npm run prove`: what it shows, and in one line what it found.

export type Outcome = { good: boolean; what: string }
export type Proof = { name: string; what: string; run: () => Promise<Outcome> }
