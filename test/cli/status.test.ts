import { describe, expect, it } from "vitest"
import { render } from "../../src/cli/status.ts"
import { Program, run, startWorker, temporaryFolder } from "./program.ts"

const startSidecar = async (worker: string) => {
  const sidecar = new Program([], {
    cwd: temporaryFolder(),
    env: {
      SIDECAR_BIND_ADDR: "127.0.0.1:0",
      SIDECAR_METRICS_HOST: "127.0.0.1",
      SIDECAR_METRICS_PORT: "0",
      SIDECAR_WORKER_UDS: worker,
      // Only the first dial: a test without a worker stays Disconnected.
      SIDECAR_RECONNECT_DELAY_SECS: "3600"
    }
  })
  const { address } = JSON.parse(await sidecar.line("gRPC server listening"))
  return { sidecar, address: String(address) }
}

describe("sidecar status", () => {
  it("ends with 0 when the worker is connected, and prints what went through", async () => {
    const worker = await startWorker("--tokens", "3", "--tokens-per-second", "0")
    const { address, sidecar } = await startSidecar(worker.address)
    await sidecar.line("connected to worker")
    await run(["predict", "--addr", address, "--model", "m", "hi"])
    const { code, stdout } = await run(["status", "--addr", address])
    expect(stdout).toMatch(/^worker +Connected for \d+s$/m)
    expect(stdout).toMatch(/^requests +1 in all: 1 completed, 0 failed, 0 cancelled, 100\.0 % success$/m)
    expect(stdout).toMatch(/^tokens +3$/m)
    expect(stdout).toContain(worker.address)
    expect(code).toBe(0)
  })

  it("ends with 1 when there is no worker, and says why and what to do", async () => {
    const { address, sidecar } = await startSidecar("unix:///nowhere/worker.sock")
    await sidecar.line("worker not connected")
    const people = await run(["status", "--addr", address])
    expect(people.stdout).toMatch(/^worker +Disconnected for /m)
    expect(people.stdout).toMatch(/^reason +SocketMissing: .*\/nowhere\/worker\.sock/m)
    expect(people.stdout).toMatch(/^remedy +\S/m)
    expect(people.code).toBe(1)
    const programs = await run(["status", "--json", "--addr", address])
    expect(JSON.parse(programs.stdout)).toMatchObject({
      status: "ok",
      worker_reason: "SocketMissing",
      streams_in_flight: 0,
      tokens: 0,
      usage_waiting: 0,
      "sidecar_usage_tokens{state=\"delivered\"}": 0,
      "sidecar_worker_status{state=\"disconnected\"}": 1,
      "sidecar_worker_status{state=\"connected\"}": 0
    })
    expect(Object.keys(JSON.parse(programs.stdout))).not.toContain("sidecar_usage_tokens")
    expect(typeof JSON.parse(programs.stdout).version).toBe("string")
    expect(programs.code).toBe(1)
  })

  it("asks again with --watch until it is interrupted", async () => {
    const { address } = await startSidecar("unix:///nowhere/worker.sock")
    const watch = new Program(["status", "--watch", "--json", "--addr", address])
    await watch.line("worker_state")
    await watch.out.first((line) => line.includes("worker_state"), "a second answer", 1)
    watch.child.kill("SIGINT")
    expect(await watch.exited).toEqual({ code: 0, signal: null })
  })

  it("tells a name that nobody knows from a sidecar that does not run", async () => {
    const { code, stderr } = await run(["status", "--addr", "no-such-host.invalid:9"])
    expect(stderr).toMatch(
      /^sidecar: the name in no-such-host\.invalid:9 is known to nobody \(ENOTFOUND\); check --addr/
    )
    expect(code).toBe(69)
  })

  it("names the address when no sidecar answers, and ends with 69", async () => {
    const { code, stderr } = await run(["status", "--addr", "127.0.0.1:1"])
    expect(stderr).toMatch(/^sidecar: no sidecar answers at 127\.0\.0\.1:1; start one with `sidecar run`.*\n$/)
    expect(code).toBe(69)
  })

  it("is not fooled by a worker", async () => {
    const { address } = await startWorker()
    const { code, stderr } = await run(["status", "--addr", address])
    expect(stderr).toContain(`${address} answers, but it is not a sidecar`)
    expect(code).toBe(69)
  })
})

describe("the table of sidecar status", () => {
  it("shows a reload and when it will be over", () => {
    const table = render({
      status: "ok",
      worker_state: "Reloading",
      worker_since: "2026-01-01T00:00:00Z",
      // As after a jump of the clock: the durations are the sidecar's own.
      worker_until: "2026-01-01T02:00:00Z",
      worker_since_secs: "60.0",
      worker_due_secs: "20.0"
    })
    expect(table).toMatch(/^worker +Reloading for 1m 0s, back in about 20s$/m)
  })

  it("shows the next try of a lost worker", () => {
    const table = render({
      status: "ok",
      worker_state: "Disconnected",
      worker_since: "2026-01-01T00:00:55Z",
      worker_reason: "ConnectionRefused",
      worker_detail: "nobody listens",
      worker_remedy: "start it again",
      worker_attempt: "3",
      worker_retry_at: "2026-01-01T00:01:02Z",
      worker_due_secs: "2.0"
    })
    expect(table).toMatch(/^reason +ConnectionRefused: nobody listens$/m)
    expect(table).toMatch(/^remedy +start it again$/m)
    expect(table).toMatch(/^next try +in 2s \(attempt 3\)$/m)
  })

  it("says once that the worker is saturated, and has its own word for a TCP address", () => {
    const payload = {
      status: "ok",
      worker_state: "Connected",
      worker_reason: "Saturated",
      worker_detail: "saturated since 2026-01-01T00:00:55Z: no thread left",
      worker_uds: "tcp://worker:50052"
    }
    const table = render(payload)
    expect(table).toMatch(/^reason +saturated since 2026-01-01T00:00:55Z: no thread left$/m)
    expect(table).toMatch(/^address +tcp:\/\/worker:50052$/m)
    expect(render({ ...payload, worker_uds: "unix:///run/w.sock" })).toMatch(/^socket +unix:\/\/\/run\/w\.sock$/m)
  })

  it("leaves out what it was not told, and addresses with a port that the system chose", () => {
    const table = render({
      status: "ok",
      worker_state: "Connected",
      bind_addr: "127.0.0.1:0",
      metrics_addr: "0.0.0.0:0"
    })
    expect(table).not.toMatch(/^(gRPC|metrics|usage|reason|remedy|next try)/m)
  })
})
