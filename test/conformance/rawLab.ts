import { afterAll, afterEach, beforeAll, expect } from "vitest"
import { expectBalanced, Lab, type LabOptions } from "../support/lab.ts"
import { endOfStream, tokens } from "../support/protobuf.ts"
import { RawWorker, type RawWorkerOptions } from "./raw/worker.ts"

/** Five tokens and the end: what a short answer holds. */
export const ANSWER: ReadonlyArray<Buffer> = [...tokens(5), endOfStream(5)]

export interface RawLab {
  readonly lab: Lab
  readonly worker: RawWorker
}

/** One sidecar and one raw worker for all tests of the enclosing `describe`; nothing is in flight after each. */
export const useRawLab = (options: LabOptions = {}, worker: RawWorkerOptions = {}): () => RawLab => {
  let open: RawLab | undefined
  const get = (): RawLab => {
    if (open === undefined) throw new Error("the lab is not open")
    return open
  }
  beforeAll(async () => {
    const lab = await new Lab({ ...options, worker: false }).open()
    open = { lab, worker: await RawWorker.start(lab.socketPath, worker) }
    await lab.sidecar.connected()
  })
  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") {
      get().worker.forget()
      return console.error(get().lab.output)
    }
    expectBalanced(await get().lab.sidecar.settled())
    expect(get().lab.sidecar.isRunning).toBe(true)
  })
  afterAll(async () => {
    await open?.worker.close()
    await open?.lab.close()
  })
  return get
}
