// The door of screen: what a person or a script sees.
export { clientLine } from './client.ts'
export { formatBytes, formatRate, formatSpan } from './format.ts'
export { jsonLine } from './json.ts'
export { Output } from './output.ts'
export { table } from './table.ts'
export { Terminal } from './terminal.ts'
export { openView, type View, type ViewOptions } from './view.ts'
