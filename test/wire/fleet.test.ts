import { execFile } from "node:child_process"
import * as path from "node:path"
import { promisify } from "node:util"
import { expect, it } from "vitest"
import { hasNatsServer, withoutNats } from "../support/natsServer.ts"
import { nodeBinary, root } from "../support/node.ts"
import { soak } from "../support/run/soak.ts"

// It takes half a minute of wall time, whatever the machine.
it.runIf(soak(true, false) && hasNatsServer)(
  `a fleet that is reloaded, restarted and killed in parts serves every stream, and counts each token once${withoutNats}`,
  async () => {
    const { stdout } = await promisify(execFile)(nodeBinary, [path.join(root, "examples/fleet/main.ts"), "--short"])
    expect(stdout).toContain("all in order")
    expect(stdout).toMatch(/refusals with a hint: [1-9]/)
    expect(stdout).not.toContain("NOT IN ORDER")
  }
)
