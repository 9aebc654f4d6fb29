import { Linked } from "./linkedList.ts"

/**
 * Any number of deadlines behind one timer: who is due next, in constant time for the durations a pool really uses.
 *
 * Members that wait equally long expire in the order in which they joined, so each duration has a row, a queue in order
 * of expiry, and only the heads of the rows compete (in a heap). Joining and leaving cost a few pointers however many
 * members a row has; a duration used only once costs a row of its own and the heap's logarithm.
 */
export class Deadlines<M extends Timed<unknown>> {
  readonly rows = new Map<number, Row<M>>()
  /** The row that a member has joined last: most will join the same. */
  last: Row<M> | undefined = undefined
  readonly heap: Array<Row<M>> = []
}

/** What can have a deadline: one at a time, beside the list it may be in. */
export class Timed<N> extends Linked<N> {
  /** When the time began to run. */
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

// An empty row is kept for its next member, but only so many: callers may ask for any duration once.
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

/** Forgets the member's deadline, if it has one. */
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

/** Takes out the member that is longest past its deadline, if one is. */
export const takeDue = <M extends Timed<unknown>>(deadlines: Deadlines<M>, now: number): M | undefined => {
  const row = deadlines.heap[0]
  if (row === undefined || dueAt(row) > now) return undefined
  const member = row.head!
  cancel(deadlines, member)
  return member
}

/** When the head of a row expires, which is never empty while it competes. */
const dueAt = <M extends Timed<unknown>>(row: Row<M>): number => row.head!.timedFrom + row.duration

const before = <M extends Timed<unknown>>(a: Row<M>, b: Row<M>): boolean => dueAt(a) < dueAt(b)

const place = <M>(heap: Array<Row<M>>, row: Row<M>, position: number): void => {
  heap[position] = row
  row.position = position
}

const up = <M extends Timed<unknown>>(heap: Array<Row<M>>, row: Row<M>): void => {
  let position = row.position
  while (position > 0) {
    const parent = (position - 1) >> 1
    if (!before(row, heap[parent]!)) break
    place(heap, heap[parent]!, position)
    position = parent
  }
  place(heap, row, position)
}

const down = <M extends Timed<unknown>>(heap: Array<Row<M>>, row: Row<M>): void => {
  let position = row.position
  for (;;) {
    let child = 2 * position + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
    if (!before(heap[child]!, row)) break
    place(heap, heap[child]!, position)
    position = child
  }
  place(heap, row, position)
}

const leaveHeap = <M extends Timed<unknown>>(heap: Array<Row<M>>, row: Row<M>): void => {
  const last = heap.pop()!
  if (last === row) return
  place(heap, last, row.position)
  up(heap, last)
  down(heap, last)
}
