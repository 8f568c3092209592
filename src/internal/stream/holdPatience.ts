import type { StreamEnv } from "./streamEnv.ts"

/** What patience is made of. */
export type Patience = Pick<StreamEnv, "connection" | "holdMillis" | "holdOnDisconnectMillis">

/**
 * How long a stream that finds no worker is held, in milliseconds; 0: not at all. `acceptedOnce`: it has been at a worker,
 * and is held until one is back, whatever the status is called meanwhile.
 *
 * A new stream is not held in vain: a worker that means to be back later than that is not waited for. A caller's deadline
 * that is nearer than the worker's estimate is the caller's own choice, since an estimate may be wrong.
 */
export const holdPatience = (
  acceptedOnce: boolean,
  { connection, holdMillis, holdOnDisconnectMillis }: Patience
): number => {
  const state = connection.current()
  const parted = state._tag === "Connected" ? state.renewing : state._tag === "Reloading" ? state.restarting : false
  // A worker that said goodbye is waited for no less than one that was killed.
  if (parted === true) return Math.max(holdMillis, holdOnDisconnectMillis)
  if (acceptedOnce) return holdMillis
  if (state._tag !== "Reloading") return holdOnDisconnectMillis
  return (connection.dueInMillis() ?? 0) > holdMillis ? 0 : holdMillis
}
