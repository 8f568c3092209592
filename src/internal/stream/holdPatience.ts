import type { StreamEnv } from "./streamEnv.ts"

/**
 * How long a stream that finds no worker is held, in milliseconds; 0: not at all. `acceptedOnce`: it has been at a worker,
 * and is held until one is back, whatever the status is called meanwhile.
 */
export const holdPatience = (
  acceptedOnce: boolean,
  { connection, holdMillis, holdOnDisconnectMillis }: StreamEnv
): number => {
  const state = connection.current()
  const parted = state._tag === "Connected" ? state.renewing : state._tag === "Reloading" ? state.restarting : false
  // A worker that said goodbye is waited for no less than one that was killed.
  if (parted === true) return Math.max(holdMillis, holdOnDisconnectMillis)
  return state._tag === "Reloading" || acceptedOnce ? holdMillis : holdOnDisconnectMillis
}
