/**
 * `npm run test:repeat -- 5`: runs the suite so often beside a busy neighbour and lists what failed how often. What follows
 * the number goes to vitest: `npm run test:repeat -- 20 test/wire -t "is killed"`. Exits with 1 when something has failed.
 * `NEIGHBOURS` says how many processes keep a core busy each; without it there is one for each core.
 */
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { countsOf, namesOf, outcomeOf, withReason } from "./results.ts"

const print = (text: string): void => void process.stdout.write(`${text}\n`)

const [first = "", ...rest] = process.argv.slice(2)
const repeats = Number(first)
const neighbours = Number(process.env["NEIGHBOURS"] ?? os.availableParallelism())
if (![repeats, neighbours].every((number) => Number.isSafeInteger(number) && number >= 0) || repeats === 0) {
  process.stderr.write("usage: npm run test:repeat -- TIMES [what vitest run takes]\n")
  process.exit(64)
}

/** It computes and never rests, as an inference engine or a build beside the tests does. */
const busy = (): ChildProcess => spawn(process.execPath, ["-e", "for (;;) Math.random()"], { stdio: "ignore" })

/** One run; its results are in `file` when it could begin. */
const run = (file: string): Promise<number | null> =>
  new Promise((resolve, reject) => {
    const vitest = path.resolve("node_modules/vitest/vitest.mjs")
    const args = ["run", "--reporter=dot", "--reporter=json", `--outputFile.json=${file}`, ...rest]
    const child = spawn(process.execPath, [vitest, ...args], { stdio: ["ignore", "ignore", "inherit"] })
    child.once("error", reject)
    child.once("close", resolve)
  })

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "repeat-"))
const others = Array.from({ length: neighbours }, busy)
const stop = (): void => {
  for (const other of others) other.kill("SIGKILL")
}
process.once("exit", stop)
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130))

const failures = new Map<string, number>()
for (let n = 1; n <= repeats; n++) {
  const began = performance.now()
  const file = path.join(folder, `${n}.json`)
  const code = await run(file)
  const outcome = outcomeOf(file)
  const failed = namesOf(outcome, "failed")
  // An error outside of every test.
  const all = failed.length === 0 && code !== 0 ? [`vitest's exit code was ${code}`] : failed
  for (const name of all) failures.set(name, (failures.get(name) ?? 0) + 1)
  print(`run ${n} of ${repeats}: ${countsOf(outcome)}, ${Math.round((performance.now() - began) / 1000)} s`)
  for (const name of all) print(`  ${withReason(outcome, name)}`)
}
// They would keep this process alive.
stop()
fs.rmSync(folder, { recursive: true, force: true })

for (const [name, times] of [...failures].toSorted(([, a], [, b]) => b - a)) print(`${times} of ${repeats}: ${name}`)
if (failures.size === 0) print(`${repeats} runs without a failure`)
process.exitCode = failures.size === 0 ? 0 : 1
