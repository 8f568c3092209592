import { describe, expect, it } from "vitest"
import { Program, run, startWorker } from "./program.ts"

const ask = (
  address: string,
  ...rest: ReadonlyArray<string>
) => ["predict", "--addr", address, "--model", "qwen-7b", ...rest]

describe("sidecar predict", () => {
  it("prints the answer on stdout, notices and figures on stderr", async () => {
    const { address } = await startWorker("--loading-notices", "2", "--tokens-per-second", "0")
    const { code, stderr, stdout } = await run(ask(address, "--verbose", "你好"))
    expect(stdout).toMatch(/^你好！我是替身模型 qwen-7b，你说的是“你好”。.*\n$/)
    expect(stderr).toContain("[模型加载] 正在检查显存资源...\n[模型加载] 正在读取模型配置...\n")
    expect(stderr).toMatch(/^\d+ tokens, first after \d+ ms, .* tokens\/s, .* s$/m)
    expect(code).toBe(0)
  })

  it("prints each piece when it comes, not when the answer is over", async () => {
    const { address } = await startWorker("--tokens", "100000", "--tokens-per-second", "200")
    const predict = new Program(ask(address, "--json", "hello"))
    await predict.line("\"index\":3")
    expect(predict.child.exitCode).toBeNull()
  })

  it("prints one JSON object for each message when it is asked to, and reads the prompt from stdin", async () => {
    const { address } = await startWorker("--loading-notices", "1", "--tokens-per-second", "0")
    const { stdout } = await run(ask(address, "--json", "--max-new-tokens", "2", "--trace-id", "t-1", "-"), {
      stdin: "from stdin"
    })
    const messages = stdout.trimEnd().split("\n").map((line) => JSON.parse(line))
    expect(messages.map(({ index }) => index)).toEqual([0, 1, 2, 3])
    expect(messages.map(({ notice }) => notice)).toEqual([true, false, false, false])
    expect(messages.map(({ end_of_stream }) => end_of_stream)).toEqual([false, false, false, true])
    expect(messages.every(({ trace_id }) => trace_id === "t-1")).toBe(true)
  })

  it("sends the whole of stdin as the prompt", async () => {
    const { address } = await startWorker("--tokens-per-second", "0")
    const { stdout } = await run(ask(address, "-"), { stdin: "first line\nsecond line" })
    expect(stdout).toContain("\"first line second line\"")
  })

  it("sends its bearer token, from the flag or the environment", async () => {
    const { address } = await startWorker("--token", "s3cret", "--tokens", "1", "--tokens-per-second", "0")
    const [flag, variable, none] = await Promise.all([
      run(ask(address, "--token", "s3cret", "hi")),
      run(ask(address, "hi"), { env: { SIDECAR_TOKEN: "s3cret" } }),
      run(ask(address, "hi"))
    ])
    expect([flag.code, variable.code, none.code]).toEqual([0, 0, 77])
    expect(none.stderr).toMatch(/^sidecar: UNAUTHENTICATED: .*--token SECRET.*\n$/)
  })

  it.each<[string, ReadonlyArray<string>, ReadonlyArray<string>, number, RegExp]>([
    [
      "a model that is not there",
      ["--models", "other"],
      ["hi"],
      66,
      /^sidecar: NOT_FOUND: Model not found: qwen-7b\n$/
    ],
    ["a prompt that is too long", [], ["-"], 65, /^sidecar: INVALID_ARGUMENT: Prompt is longer .*\n$/],
    [
      "a deadline that passes",
      ["--tokens", "100000"],
      ["--deadline", "0.3", "hi"],
      75,
      /^sidecar: DEADLINE_EXCEEDED: .* \(give it more time with --deadline SECS\)\n$/
    ]
  ])("tells %s in one line with the status by name", async (_, worker, args, exit, line) => {
    const { address } = await startWorker(...worker)
    const { code, stderr } = await run(ask(address, ...args), { stdin: "x".repeat(50_001) })
    expect(stderr).toMatch(line)
    expect(code).toBe(exit)
  })

  it("names the address and how to start a sidecar when nobody answers there", async () => {
    for (const address of ["127.0.0.1:1", "unix:///nowhere/sidecar.sock"]) {
      const { code, stderr } = await run(ask(address, "hi"))
      expect(stderr).toBe(
        `sidecar: no sidecar answers at ${address}; start one with \`sidecar run\`, or name another with --addr\n`
      )
      expect(code).toBe(69)
    }
  })

  it("takes the address from the configuration, a wildcard as the loopback", async () => {
    const { stderr } = await run(["predict", "--model", "m", "hi"], { env: { SIDECAR_BIND_ADDR: "0.0.0.0:1" } })
    expect(stderr).toContain("127.0.0.1:1;")
  })

  it("refuses an address that is none, and a certificate that is not there", async () => {
    const wrong = await run(ask("nonsense", "hi"))
    expect([wrong.code, wrong.stderr]).toEqual([
      64,
      "sidecar: --addr: expected host:port or unix:///path, got \"nonsense\"\n"
    ])
    const missing = await run(ask("127.0.0.1:1", "--ca", "/nowhere/ca.pem", "hi"))
    expect([missing.code, missing.stderr]).toEqual([66, "sidecar: --ca: cannot read /nowhere/ca.pem\n"])
  })

  it("cancels the call at the worker on Ctrl-C, and ends with 130", async () => {
    const { address, program: worker } = await startWorker("--tokens", "100000", "--tokens-per-second", "200")
    const predict = new Program(ask(address, "--json", "hi"))
    await predict.line("\"index\":3")
    predict.child.kill("SIGINT")
    expect(await predict.exited).toEqual({ code: 130, signal: null })
    expect(JSON.parse(await worker.line("stream ended"))).toMatchObject({ outcome: "cancelled" })
  })

  it("cancels the call when nobody reads its output any more", async () => {
    const { address, program: worker } = await startWorker("--tokens", "100000", "--tokens-per-second", "200")
    const predict = new Program(ask(address, "--json", "hi"))
    await predict.line("\"index\":3")
    predict.child.stdout!.destroy()
    expect(await predict.exited).toEqual({ code: 141, signal: null })
    expect(predict.stderr).toBe("")
    expect(JSON.parse(await worker.line("stream ended"))).toMatchObject({ outcome: "cancelled" })
  })
})
