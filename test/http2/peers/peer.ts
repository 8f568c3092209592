import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { onTestFinished } from "vitest"
import { eventually } from "../../support/events.ts"

export const has = (command: string): boolean => spawnSync("which", [command]).status === 0

export const hasPython = (module: string): boolean =>
  spawnSync("/usr/bin/python3", ["-c", `import ${module}`]).status === 0

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() =>
        address === null || typeof address === "string" ? reject(new Error("no port")) : resolve(address.port)
      )
    })
  })

const reachable = (port: number): Promise<true | undefined> =>
  new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", () => resolve(undefined))
  })

/** A folder that goes with the test. */
export const folder = (): string => {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "h2-"))
  onTestFinished(() => fs.rmSync(made, { recursive: true, force: true }))
  return made
}

/** A command run to its end: what it printed; throws when it fails. */
export const run = (command: string, args: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve, reject) =>
    execFile(
      command,
      args,
      { maxBuffer: 1 << 24 },
      (error, stdout, stderr) =>
        error === null ? resolve(stdout) : reject(new Error(`${command}: ${error.message}\n${stdout}\n${stderr}`))
    )
  )

/** A server of somebody else's, until the test ends; waits until its port answers. */
export const serve = async (port: number, command: string, args: ReadonlyArray<string>): Promise<ChildProcess> => {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  child.stdout.on("data", (chunk) => void (output += String(chunk)))
  child.stderr.on("data", (chunk) => void (output += String(chunk)))
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once("exit", resolve))
    child.kill("SIGTERM")
    await gone
  })
  await eventually(`${command} listens`, () => {
    if (child.exitCode !== null) throw new Error(`${command} has ended: ${output}`)
    return reachable(port)
  })
  return child
}
