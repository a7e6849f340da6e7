// Run as a process of its own: connects many times at once, and prints how many got through and how long the slowest took.
const port = Number(process.argv[2])
const many = Number(process.argv[3])
const began = performance.now()
let slowest = 0
const socket = {
  data() {},
  open() {
    slowest = performance.now() - began
  },
}
const dials = Array.from({ length: many }, () => Bun.connect({ hostname: '127.0.0.1', port, socket }))
const results = await Promise.allSettled(dials)
console.log(JSON.stringify({ connected: results.filter(r => r.status === 'fulfilled').length, slowest }))
process.exit()

export {}
