import * as Status from "../../services/Status.ts"
import { WorkerLost } from "../../services/StreamError.ts"
import type { CallEnd, Status as GrpcStatus } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"

/**
 * Whether a worker that has said goodbye on `link` ends a call with `status` because it stops: C-core says UNAVAILABLE
 * "Cancelling all calls" to what it does not finish, and CANCELLED to a call that came while it was about to stop and
 * that no handler has seen.
 */
export const isDismissal = ({ code }: GrpcStatus, link: WorkerLink | undefined): boolean =>
  (code === Status.Code.UNAVAILABLE || code === Status.Code.CANCELLED) && link?.isGoingAway() === true

/** The end of a stream whose worker is lost and that cannot be sent again. What a stopping worker said is told as it is. */
export const workerLost = (
  delivered: number,
  retryAfterMillis: number,
  reason: CallEnd["reason"],
  status: GrpcStatus
): WorkerLost => {
  // CANCELLED would look like the gateway's own doing.
  const told = reason === "status" && status.code === Status.Code.UNAVAILABLE
  return new WorkerLost({ delivered, retryAfterMillis, status: told ? status : undefined })
}
