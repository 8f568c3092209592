import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { onTestFinished } from "vitest"
import { deferred, Recorder } from "../support/events.ts"
import { environment, nodeBinary, program } from "../support/node.ts"

export interface ProgramExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** By its path; default: the one that the tests start. */
  readonly program?: string
  /** What it reads from stdin; default: nothing. */
  readonly stdin?: string
}

/** A folder of the test's own, gone with it. */
export const temporaryFolder = (): string => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cli-"))
  onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The program as a user starts it, in a folder and an environment of its own. */
export class Program {
  readonly out = new Recorder<string>()
  readonly err = new Recorder<string>()
  readonly exited: Promise<ProgramExit>
  readonly child: ChildProcess
  stdout = ""
  stderr = ""

  constructor(args: ReadonlyArray<string>, options: ProgramOptions = {}) {
    const exited = deferred<ProgramExit>()
    this.exited = exited.promise
    this.child = spawn(nodeBinary, [options.program ?? program, ...args], {
      cwd: options.cwd ?? temporaryFolder(),
      env: { ...environment, ...options.env },
      stdio: "pipe"
    })
    this.child.stdin!.end(options.stdin ?? "")
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text
    })
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text
    })
    createInterface({ input: this.child.stdout! }).on("line", (line) => this.out.push(line))
    createInterface({ input: this.child.stderr! }).on("line", (line) => this.err.push(line))
    this.child.once("error", exited.reject)
    this.child.once("close", (code, signal) => {
      const ended = new Error(`the program has ended (${signal ?? code}):\n${this.stdout}\n${this.stderr}`)
      this.out.fail(ended)
      this.err.fail(ended)
      exited.resolve({ code, signal })
    })
    onTestFinished(async () => {
      if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL")
      await this.exited
    })
  }

  /** The first line on stdout that contains `text`. */
  line(text: string): Promise<string> {
    return this.out.first((line) => line.includes(text), `"${text}" on stdout`)
  }
}

export interface Ran extends ProgramExit {
  readonly stdout: string
  readonly stderr: string
}

/** Runs the program to its end. */
export const run = async (args: ReadonlyArray<string>, options?: ProgramOptions): Promise<Ran> => {
  const program = new Program(args, options)
  const exit = await program.exited
  return { ...exit, stdout: program.stdout, stderr: program.stderr }
}

/** Starts a stand-in worker and waits until it listens. */
export const startWorker = async (...args: ReadonlyArray<string>) => {
  const address = `unix://${path.join(temporaryFolder(), "worker.sock")}`
  const program = new Program(["worker", "--socket", address, ...args])
  await program.line("stand-in worker listening")
  return { address, program }
}
