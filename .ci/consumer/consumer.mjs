// Imports the package as its users do and checks that importing starts nothing.
import * as sidecar from "cy-llm-sidecar"
import * as ai from "cy-llm-sidecar/ai"
import * as testing from "cy-llm-sidecar/testing"
import assert from "node:assert/strict"

for (const name of ["Sidecar", "TomlConfig", "SidecarConfig", "LlmClient", "InferenceProxy", "WorkerConnection", "WorkerChannel"]) {
  assert.ok(name in sidecar, `cy-llm-sidecar has no ${name}`)
}
for (const name of ["Simulation", "ScriptedWorker", "ScriptedGateway", "Answer", "Timeline", "Recorder"]) {
  assert.ok(name in testing, `cy-llm-sidecar/testing has no ${name}`)
}
assert.ok("WorkerLanguageModel" in ai, "cy-llm-sidecar/ai has no WorkerLanguageModel")
const busy = process.getActiveResourcesInfo().filter((name) => !/^(TTY|Pipe|File)Wrap$/.test(name))
assert.deepEqual(busy, [], "importing the package starts something")
console.log(`imported: ${Object.keys(sidecar).length} names, testing: ${Object.keys(testing).length} names`)
