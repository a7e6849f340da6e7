// The door of config: what a person wrote, as values.
export * from './address.ts'
export * from './quantities.ts'
