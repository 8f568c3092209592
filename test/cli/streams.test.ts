import { expect, it } from "vitest"
import { Program, run, startWorker, temporaryFolder } from "./program.ts"

it("streams under way are shown, and one is ended by its id", async () => {
  const worker = await startWorker("--tokens", "1000", "--tokens-per-second", "20")
  const sidecar = new Program([], {
    cwd: temporaryFolder(),
    env: { SIDECAR_BIND_ADDR: "127.0.0.1:0", SIDECAR_METRICS_PORT: "0", SIDECAR_WORKER_UDS: worker.address }
  })
  const addr = ["--addr", String(JSON.parse(await sidecar.line("gRPC server listening")).address)]
  await sidecar.line("connected to worker")
  expect((await run(["streams", ...addr])).stdout).toBe("no stream is under way\n")
  const caller = new Program(["predict", ...addr, "--model", "qwen-7b", "hi"])
  const watched = new Program(["streams", "--watch", "--json", ...addr])
  await watched.line("\"tokens\":")
  const [row] = JSON.parse((await run(["streams", "--json", ...addr])).stdout)
  expect(row).toMatchObject({ state: "at the worker", model: "qwen-7b", deadline_seconds: null })
  expect(row.peer).toMatch(/^127\.0\.0\.1:\d+$/)
  const table = (await run(["streams", ...addr])).stdout
  expect(table).toMatch(/^id +state +model +tenant +peer +deadline +age +tokens +tokens\/s$/m)
  expect(table).toContain(`${row.id}  at the worker  qwen-7b`)

  expect((await run(["stream", "kill", ...addr, "nobody"])).stderr).toContain(
    "no stream under way has the id \"nobody\""
  )
  const killed = await run(["stream", "kill", ...addr, row.id])
  expect([killed.code, killed.stderr]).toEqual([0, ""])
  await caller.exited
  expect(caller.stderr).toContain("ABORTED")
  const line = JSON.parse(await sidecar.line("stream ended\""))
  expect(line).toMatchObject({
    level: "info",
    reason: "killed",
    grpc_status: 10,
    model_id: "qwen-7b",
    record_id: row.id
  })
  expect(Object.keys(line)).toEqual([
    "time",
    "level",
    "msg",
    "outcome",
    "reason",
    "grpc_status",
    "model_id",
    "tenant",
    "tokens",
    "bytes",
    "ttft_ms",
    "held_ms",
    "queued_ms",
    "duration_ms",
    "replays",
    "peer",
    "trace_id",
    "record_id"
  ])
})
