import { Effect, Queue, Stream } from "effect"
import { type FSWatcher, watch } from "node:fs"
import { dirname } from "node:path"
import { fileIdentity } from "./socketAddress.ts"

export type AddressChange = "appeared" | "replaced" | "vanished"

/**
 * A server binds its socket (the file appears) a moment before it listens: after an appearance, further hints follow in
 * case the first dial came too early.
 */
const HINTS_AFTER_MILLIS = [5, 25, 100, 400]

/** Watches the nearest folder that exists on the way to `path`; a folder that appears moves the watch towards the file. */
const nearestFolder = (path: string): string => {
  let folder = dirname(path)
  while (fileIdentity(folder) === undefined && dirname(folder) !== folder) folder = dirname(folder)
  return folder
}

/** Changes of the socket file at `path`, from the folder's watch of the operating system. */
export const socketWatch = (path: string): Stream.Stream<AddressChange> =>
  Stream.callback<AddressChange>((queue) =>
    Effect.gen(function*() {
      let seen = fileIdentity(path)
      let watched:
        | { readonly folder: string; readonly file: string | undefined; readonly watcher: FSWatcher }
        | undefined
      let hints: Array<NodeJS.Timeout> = []

      const stop = () => {
        for (const hint of hints) clearTimeout(hint)
        hints = []
        watched?.watcher.close()
        watched = undefined
      }
      const hintLater = () => {
        for (const hint of hints) clearTimeout(hint)
        hints = HINTS_AFTER_MILLIS.map((millis) =>
          setTimeout(() => {
            if (fileIdentity(path) !== undefined) Queue.offerUnsafe(queue, "appeared")
          }, millis)
        )
      }
      const look = () => {
        const now = fileIdentity(path)
        const before = seen
        seen = now
        if (now === undefined) {
          if (before !== undefined) Queue.offerUnsafe(queue, "vanished")
        } else if (before === undefined || (before.file === now.file && before.changed !== now.changed)) {
          // New, or the same file with other permissions: worth a dial.
          Queue.offerUnsafe(queue, "appeared")
          hintLater()
        } else if (before.file !== now.file) {
          Queue.offerUnsafe(queue, "replaced")
          hintLater()
        }
        arm()
      }
      const arm = () => {
        const folder = nearestFolder(path)
        // A folder that was removed and made again is another one, and the old watch is deaf.
        const file = fileIdentity(folder)?.file
        if (watched?.folder === folder && watched.file === file) return
        watched?.watcher.close()
        try {
          const watcher = watch(folder, { persistent: false }, look)
          watcher.on("error", () => {
            watched = undefined
          })
          watched = { folder, file, watcher }
        } catch {
          // Without a watch (no inotify left, say) the reconnect schedule alone finds the worker.
          watched = undefined
        }
      }
      yield* Effect.acquireRelease(Effect.sync(arm), () => Effect.sync(stop))
    })
  )
