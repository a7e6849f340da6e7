// The version, from package.json: `bun build` puts the one word into the binary.
export { version } from '../../package.json'
