import type { WorkerLink } from "../../services/WorkerChannel.ts"

/**
 * Which links lead to the same process of the worker: those that were dialled between two changes of its address. A
 * worker that renews its connections has running calls on the older ones, and they keep its threads busy.
 */
export interface LinkAges {
  /** The address went, or leads elsewhere from now on. */
  readonly turn: () => void
  readonly dialled: (link: WorkerLink) => void
  /** The link takes no new calls, and its running ones finish. */
  readonly retired: (link: WorkerLink) => void
  readonly closed: (link: WorkerLink) => void
  /** Calls that are open at the process that a link leads to: on this link, and on older ones. */
  readonly callsBeside: (link: WorkerLink) => number
}

/** None yet. */
export const make = (): LinkAges => {
  const ages = new WeakMap<WorkerLink, number>()
  const old = new Set<WorkerLink>()
  let age = 0
  return {
    turn: () => void age++,
    dialled: (link) => void ages.set(link, age),
    retired: (link) => void old.add(link),
    closed: (link) => void old.delete(link),
    callsBeside: (link) => {
      let count = link.openCalls()
      for (const other of old) {
        if (other !== link && ages.get(other) === ages.get(link)) count += other.openCalls()
      }
      return count
    }
  }
}
