// The door of the agent.
export { type Agent, type AgentOptions, startAgent } from './agent.ts'
