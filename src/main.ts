#!/usr/bin/env node
import { tooOld } from "./cli/nodeVersion.ts"

// Nothing else is imported yet: on an old Node the imports themselves would fail, with a SyntaxError.
const complaint = tooOld(process.versions.node)
if (complaint === undefined) {
  const { start } = await import("./cli/start.ts")
  await start(import.meta.url)
} else {
  process.stderr.write(`sidecar: ${complaint}\n`)
  // EX_CONFIG: a supervisor that knows it does not try again.
  process.exitCode = 78
}
