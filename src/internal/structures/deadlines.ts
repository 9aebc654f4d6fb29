import { Linked } from "./linkedList.ts"

/**
 * Many deadlines for one timer: it finds the member that is due next.
 *
 * Members with the same duration expire in the order in which they joined. So each duration has a row, which is a
 * queue, and a heap has the rows, ordered by the deadlines of their heads. To join or leave a row takes constant time.
 * A duration that is used once needs a row of its own, and takes the logarithmic time of the heap.
 */
export class Deadlines<M extends Timed<unknown>> {
  readonly rows = new Map<number, Row<M>>()
  /** The row that the last member joined. Most members join the same row. */
  last: Row<M> | undefined = undefined
  readonly heap: Array<Row<M>> = []
}

/** A member that can have one deadline, and can be in one list. */
export class Timed<N> extends Linked<N> {
  /** The time at which its duration began. */
  timedFrom = 0
  row: Row<Timed<unknown>> | undefined = undefined
  earlier: Timed<unknown> | undefined = undefined
  later: Timed<unknown> | undefined = undefined
}

class Row<M> {
  readonly duration: number
  position = -1
  head: M | undefined = undefined
  tail: M | undefined = undefined

  constructor(duration: number) {
    this.duration = duration
  }
}

// Empty rows are kept for their next members, but only this many, because callers may use many durations once.
const rowsKept = 32

/** Lets `member` expire `duration` after `now`. An infinite duration never expires and is not recorded. */
export const add = <M extends Timed<unknown>>(
  deadlines: Deadlines<M>,
  member: M,
  now: number,
  duration: number
): void => {
  cancel(deadlines, member)
  member.timedFrom = now
  if (duration === Infinity) return
  const { last } = deadlines
  const row = last !== undefined && last.duration === duration ? last : rowFor(deadlines, duration)
  member.row = row as Row<unknown> as Row<Timed<unknown>>
  member.earlier = row.tail
  if (row.tail === undefined) {
    row.head = member
    row.tail = member
    row.position = deadlines.heap.push(row) - 1
    up(deadlines.heap, row)
  } else {
    row.tail.later = member
    row.tail = member
  }
}

const rowFor = <M extends Timed<unknown>>(deadlines: Deadlines<M>, duration: number): Row<M> => {
  let row = deadlines.rows.get(duration)
  if (row === undefined) {
    row = new Row(duration)
    deadlines.rows.set(duration, row)
  }
  deadlines.last = row
  return row
}

/** Removes the deadline of a member, if it has one. */
export const cancel = <M extends Timed<unknown>>(deadlines: Deadlines<M>, member: M): void => {
  const row = member.row as Row<unknown> as Row<M> | undefined
  if (row === undefined) return
  const { earlier, later } = member
  member.row = undefined
  member.earlier = undefined
  member.later = undefined
  if (later === undefined) row.tail = earlier as M | undefined
  else later.earlier = earlier
  if (earlier !== undefined) {
    earlier.later = later
    return
  }
  row.head = later as M | undefined
  if (row.head === undefined) {
    leaveHeap(deadlines.heap, row)
    if (deadlines.rows.size > rowsKept) {
      deadlines.rows.delete(row.duration)
      if (deadlines.last === row) deadlines.last = undefined
    }
  } else down(deadlines.heap, row)
}

/** When the next member expires; `Infinity` if none ever will. */
export const nextDue = <M extends Timed<unknown>>(deadlines: Deadlines<M>): number =>
  deadlines.heap.length === 0 ? Infinity : dueAt(deadlines.heap[0]!)

/** Removes and returns the member whose deadline has passed first, if there is one. */
export const takeDue = <M extends Timed<unknown>>(deadlines: Deadlines<M>, now: number): M | undefined => {
  const row = deadlines.heap[0]
  if (row === undefined || dueAt(row) > now) return undefined
  const member = row.head!
  cancel(deadlines, member)
  return member
}

/** When the head of a row expires. A row in the heap is never empty. */
const dueAt = <M extends Timed<unknown>>(row: Row<M>): number => row.head!.timedFrom + row.duration

const before = <M extends Timed<unknown>>(a: Row<M>, b: Row<M>): boolean => dueAt(a) < dueAt(b)

const put = <M>(heap: Array<Row<M>>, row: Row<M>, position: number): void => {
  heap[position] = row
  row.position = position
}

const up = <M extends Timed<unknown>>(heap: Array<Row<M>>, row: Row<M>): void => {
  let position = row.position
  while (position > 0) {
    const parent = (position - 1) >> 1
    if (!before(row, heap[parent]!)) break
    put(heap, heap[parent]!, position)
    position = parent
  }
  put(heap, row, position)
}

const down = <M extends Timed<unknown>>(heap: Array<Row<M>>, row: Row<M>): void => {
  let position = row.position
  for (;;) {
    let child = 2 * position + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
    if (!before(heap[child]!, row)) break
    put(heap, heap[child]!, position)
    position = child
  }
  put(heap, row, position)
}

const leaveHeap = <M extends Timed<unknown>>(heap: Array<Row<M>>, row: Row<M>): void => {
  const last = heap.pop()!
  if (last === row) return
  put(heap, last, row.position)
  up(heap, last)
  down(heap, last)
}
