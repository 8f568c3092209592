import * as fs from "node:fs"
import { describe, expect, it } from "vitest"
import { Program, run, temporaryFolder } from "./program.ts"

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const pidsIn = (output: string): ReadonlyArray<number> =>
  [...output.matchAll(/\(pid (\d+)\)/g)].map(([, pid]) => Number(pid))

describe("sidecar demo", () => {
  it("streams an answer through a real socket and a real port, shows what moved, and leaves nothing behind", async () => {
    const tmp = temporaryFolder()
    const { code, stderr, stdout } = await run(["demo"], { env: { TMPDIR: tmp } })
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toContain("worker.sock")
    expect(stdout).toContain("你好！我是替身模型 qwen-7b，你说的是“你好，边车！”。")
    expect(stdout).toMatch(/sidecar_requests_success_total +0 → 1$/m)
    expect(stdout).toMatch(/sidecar_tokens_processed_total +0 → \d+$/m)
    expect(fs.readdirSync(tmp)).toEqual([])
    expect(pidsIn(stdout)).toHaveLength(2)
    expect(pidsIn(stdout).filter(isRunning)).toEqual([])
  })

  it("stays up when it is asked to, with commands that work, until Ctrl-C", async () => {
    const tmp = temporaryFolder()
    const demo = new Program(["demo", "--stay", "--prompt", "hello"], { env: { TMPDIR: tmp } })
    const predict = await demo.line("predict --addr")
    await demo.line("grpcurl -plaintext -d")
    const address = /--addr (\S+)/.exec(predict)?.[1] ?? ""
    const answer = await run(["predict", "--addr", address, "--model", "qwen-7b", "--max-new-tokens", "2", "你好"])
    expect({ code: answer.code, stdout: answer.stdout }).toEqual({ code: 0, stdout: "你好！\n" })
    const [, page = ""] = /The status page: (http:\S+)/.exec(demo.stdout) ?? []
    expect(await (await fetch(page)).text()).toContain("<html")
    const metrics = await fetch(/(http:\S+\/metrics)/.exec(await demo.line("curl -s"))?.[1] ?? "")
    expect(await metrics.text()).toContain("sidecar_requests_success_total 2")
    demo.child.kill("SIGINT")
    expect(await demo.exited).toEqual({ code: 0, signal: null })
    expect(fs.readdirSync(tmp)).toEqual([])
    expect(pidsIn(demo.stdout).filter(isRunning)).toEqual([])
  })

  it("fails when a part does not come up, and says which", async () => {
    const tmp = temporaryFolder()
    const deep = `${tmp}/${"d".repeat(100)}`
    fs.mkdirSync(deep)
    const { code, stderr } = await run(["demo"], { env: { TMPDIR: deep } })
    expect(stderr).toMatch(/^sidecar: the worker ended by itself \(exit code 69\)\n/)
    expect(code).toBe(1)
    expect(fs.readdirSync(deep)).toEqual([])
  })
})
