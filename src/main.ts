#!/usr/bin/env node
import { restEngine } from "./cli/engine.ts"

const engine = restEngine()
// Nothing else is imported yet: on an old Node the imports themselves would fail, with a SyntaxError.
const { tooOld } = await import("./cli/nodeVersion.ts")
const complaint = tooOld(process.versions.node)
if (complaint === undefined) {
  const { start } = await import("./cli/start.ts")
  await start(import.meta.url, engine)
} else {
  process.stderr.write(`sidecar: ${complaint}\n`)
  // EX_CONFIG: a supervisor that knows it does not try again.
  process.exitCode = 78
}
