import { openStreamAt, openValuesOf, recordAt, type RowValue, valuesOf } from "./sqliteRows.ts"
import { openColumns, recordColumns } from "./sqliteSchema.ts"
import type { UsageGroup } from "./store.ts"

/**
 * A group on its way to the thread. Its rows lie one after another in flat lists of values: to a structured clone an
 * object costs as much as many values, and each of its keys as much as one.
 */
export interface PackedGroup extends Omit<UsageGroup, "opened" | "closed"> {
  readonly opened: ReadonlyArray<RowValue>
  readonly closed: ReadonlyArray<RowValue>
}

export const packGroup = (group: UsageGroup): PackedGroup => ({
  ...group,
  opened: group.opened.flatMap(openValuesOf),
  closed: group.closed.flatMap(valuesOf)
})

const unpack = <A>(
  values: ReadonlyArray<RowValue>,
  width: number,
  rowAt: (values: ReadonlyArray<RowValue>, at: number) => A
): ReadonlyArray<A> => Array.from({ length: values.length / width }, (_, row) => rowAt(values, row * width))

export const unpackGroup = (packed: PackedGroup): UsageGroup => ({
  ...packed,
  opened: unpack(packed.opened, openColumns.length, openStreamAt),
  closed: unpack(packed.closed, recordColumns.length, recordAt)
})
