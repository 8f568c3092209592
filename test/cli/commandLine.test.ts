import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it } from "vitest"
import { environment, nodeBinary, program, root } from "../support/node.ts"
import { Program, run, temporaryFolder } from "./program.ts"

const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"))

describe("the command line", () => {
  it("tells its version", async () => {
    const { code, stdout } = await run(["--version"])
    expect(stdout).toContain(manifest.version)
    expect(code).toBe(0)
  })

  it("lists its subcommands when it is asked for help", async () => {
    const { code, stdout } = await run(["--help"])
    for (const name of ["run", "demo", "check", "status", "events", "predict", "worker"]) {
      expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"))
    }
    expect(code).toBe(0)
  })

  it.each([
    ["an unknown command", ["wroker"], ["Unknown subcommand \"wroker\"", "did you mean worker?"], "sidecar --help"],
    ["an unknown flag", ["predict", "--modle", "x"], ["--modle", "did you mean --model?"], "sidecar predict --help"],
    ["a value of the wrong type", ["worker", "--tokens", "many"], ["--tokens", "many"], "sidecar worker --help"],
    [
      "a value out of range",
      ["worker", "--threads", "0"],
      ["--threads", "Expected 1 or more"],
      "sidecar worker --help"
    ],
    ["a missing flag", ["predict", "hello"], ["--model"], "sidecar predict --help"]
  ])("answers %s with one line, a way to help, and exit code 64", async (_, args, words, help) => {
    const { code, stderr, stdout } = await run(args)
    const lines = stderr.trimEnd().split("\n")
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatch(/^sidecar: /)
    for (const word of words) expect(lines[0]).toContain(word)
    expect(lines[1]).toBe(`Try: ${help}`)
    expect(stdout).toBe("")
    expect(code).toBe(64)
  })

  it.each([
    ["as it is built", program],
    ["from its sources", path.join(root, "src/main.ts")],
    ["by npm start", path.join(root, "scripts/start.ts")]
  ])("runs the daemon without a command, %s, and greets before anything else", async (_, program) => {
    const cwd = temporaryFolder()
    fs.writeFileSync(
      path.join(cwd, "sidecar.toml"),
      "[observability]\nmetrics_host = \"127.0.0.1\"\nmetrics_port = 0\n"
    )
    const sidecar = new Program([], { cwd, program, env: { SIDECAR_BIND_ADDR: "127.0.0.1:0" } })
    await sidecar.line("gRPC server listening")
    const [starting, loading, configuration] = sidecar.out.all.map((line) => JSON.parse(line))
    expect(starting).toMatchObject({ msg: "starting cy-llm-sidecar", version: manifest.version })
    expect(loading.msg).toBe("loading config from sidecar.toml")
    expect(configuration).toMatchObject({
      msg: "configuration",
      bind_addr: "127.0.0.1:0",
      worker: "unix:///tmp/cy_worker.sock",
      metrics_port: 0,
      from_environment: "SIDECAR_BIND_ADDR"
    })
    sidecar.child.kill("SIGTERM")
    expect(await sidecar.exited).toEqual({ code: 0, signal: null })
  })

  it("tells in one line that it may open no more files, and what helps", () => {
    const cwd = temporaryFolder()
    fs.writeFileSync(path.join(cwd, "sidecar.toml"), "[observability]\nmetrics_port = 0\n")
    const { status, stderr } = spawnSync("sh", ["-c", "ulimit -n 28; exec \"$0\" \"$@\"", nodeBinary, program], {
      cwd,
      env: { ...environment, SIDECAR_BIND_ADDR: "127.0.0.1:0" },
      encoding: "utf8",
      timeout: 30_000
    })
    expect(stderr).toMatch(/^sidecar: .*too many files are open: raise the limit \(ulimit -n; .*\)\n$/)
    expect(status).toBe(69)
  })
})
