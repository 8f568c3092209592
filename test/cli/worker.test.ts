import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it } from "vitest"
import { Program, run, startWorker, temporaryFolder } from "./program.ts"

describe("sidecar worker", () => {
  it("ends with 0 on SIGTERM and takes its socket away", async () => {
    const { address, program } = await startWorker()
    const socket = address.slice("unix://".length)
    expect(fs.statSync(socket).isSocket()).toBe(true)
    program.child.kill("SIGTERM")
    expect(await program.exited).toEqual({ code: 0, signal: null })
    expect(fs.existsSync(socket)).toBe(false)
  })

  it("finishes a running stream before it ends", async () => {
    const { address, program } = await startWorker("--tokens", "60", "--tokens-per-second", "100")
    const predict = new Program(["predict", "--addr", address, "--model", "m", "--json", "hi"])
    await predict.line("\"index\":0")
    program.child.kill("SIGTERM")
    expect(await predict.exited).toEqual({ code: 0, signal: null })
    expect(await program.exited).toEqual({ code: 0, signal: null })
    expect(predict.out.all).toHaveLength(61)
  })

  it("listens where --uds-path says, as a CY-LLM worker spells it", async () => {
    const socket = path.join(temporaryFolder(), "own.sock")
    const program = new Program(["worker", "--uds-path", socket])
    expect(await program.line("stand-in worker listening")).toContain(socket)
    program.child.kill("SIGTERM")
    expect(await program.exited).toEqual({ code: 0, signal: null })
  })

  it("ends at once on a second signal", async () => {
    const { address, program } = await startWorker("--tokens", "100000", "--tokens-per-second", "100")
    const predict = new Program(["predict", "--addr", address, "--model", "m", "--json", "hi"])
    await predict.line("\"index\":0")
    program.child.kill("SIGTERM")
    program.child.kill("SIGINT")
    const { code } = await program.exited
    expect([130, 143]).toContain(code)
  })

  it("leaves its socket behind when it is killed, and a new one takes the place", async () => {
    const { address, program } = await startWorker()
    program.child.kill("SIGKILL")
    await program.exited
    expect(fs.existsSync(address.slice("unix://".length))).toBe(true)
    const next = new Program(["worker", "--socket", address])
    await next.line("stand-in worker listening")
    const { code } = await run(["predict", "--addr", address, "--model", "m", "--max-new-tokens", "1", "hi"])
    expect(code).toBe(0)
  })

  it("reloads on SIGUSR1 and answers what waited when it is over", async () => {
    const { address, program } = await startWorker("--reload-secs", "0.3", "--tokens-per-second", "0")
    program.child.kill("SIGUSR1")
    await program.line("\"reloading\"")
    const { code } = await run(["predict", "--addr", address, "--model", "m", "--max-new-tokens", "1", "hi"])
    expect(code).toBe(0)
    await program.line("\"ready\"")
  })

  it("says in one line why it cannot listen", async () => {
    const file = path.join(temporaryFolder(), "file")
    fs.writeFileSync(file, "")
    const { code, stderr } = await run(["worker", "--socket", file])
    expect(stderr).toBe(`sidecar: --socket: ${file} is there and is not a socket; remove it first\n`)
    expect(code).toBe(69)
  })
})
