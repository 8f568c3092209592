import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { Answer, Simulation } from "../src/testing.ts"

// The real sidecar on a real port, a worker made of script behind it. Point your gateway at the address and watch it.
const timeline = `
  at 20s: reload for 30s
  at 80s: die
  at 95s: come back
`

const program = Effect.gen(function*() {
  const [address] = yield* Simulation.addresses
  yield* Console.log(`sidecar on ${address}; the outage begins in 20 seconds`)
  return yield* Effect.never
})

program.pipe(
  Effect.provide(Simulation.layerServing({
    config: { server: { bind_addr: "127.0.0.1:50051" } },
    worker: { timeline, answer: Answer.tokens({ tokens: 200, every: "50 millis" }) }
  })),
  NodeRuntime.runMain
)
