/**
 * A doubly linked list whose members hold the links. Joining, leaving from anywhere and taking an end take constant
 * time and allocate nothing. A member is in one list at most, and knows it.
 */
export class Linked<N> {
  previous: N | undefined = undefined
  next: N | undefined = undefined
  list: LinkedList<N> | undefined = undefined
}

export class LinkedList<N> {
  head: N | undefined = undefined
  tail: N | undefined = undefined
  length = 0
}

type Member<N> = N & Linked<N>

/** Adds at the tail. The member must be in no list. */
export const push = <N>(list: LinkedList<N>, member: Member<N>): void => {
  member.list = list
  member.previous = list.tail
  if (list.tail === undefined) list.head = member
  else (list.tail as Member<N>).next = member
  list.tail = member
  list.length++
}

/** Adds at the head. The member must be in no list. */
export const unshift = <N>(list: LinkedList<N>, member: Member<N>): void => {
  member.list = list
  member.next = list.head
  if (list.head === undefined) list.tail = member
  else (list.head as Member<N>).previous = member
  list.head = member
  list.length++
}

/** Adds a member before another member of a list. The added member must be in no list. */
export const insertBefore = <N>(other: Member<N>, member: Member<N>): void => {
  if (other.previous === undefined) return unshift(other.list!, member)
  member.list = other.list
  member.previous = other.previous
  member.next = other
  ;(other.previous as Member<N>).next = member
  other.previous = member
  other.list!.length++
}

/** Takes a member out of its list. Does nothing if it is in no list. */
export const remove = <N>(member: Member<N>): void => {
  const { list, next, previous } = member
  if (list === undefined) return
  if (previous === undefined) list.head = next
  else (previous as Member<N>).next = next
  if (next === undefined) list.tail = previous
  else (next as Member<N>).previous = previous
  list.length--
  member.list = undefined
  member.next = undefined
  member.previous = undefined
}

/** Takes a member out of its list, and adds it at the tail of a list. */
export const move = <N>(list: LinkedList<N>, member: Member<N>): void => {
  const { list: from, next, previous } = member
  if (from === undefined) return push(list, member)
  if (previous === undefined) from.head = next
  else (previous as Member<N>).next = next
  if (next === undefined) from.tail = previous
  else {
    ;(next as Member<N>).previous = previous
    member.next = undefined
  }
  from.length--
  const { tail } = list
  member.list = list
  member.previous = tail
  if (tail === undefined) list.head = member
  else (tail as Member<N>).next = member
  list.tail = member
  list.length++
}

/** Removes and returns the head, if there is one. */
export const shift = <N>(list: LinkedList<N>): N | undefined => {
  const head = list.head
  if (head !== undefined) remove(head as Member<N>)
  return head
}

/** The members from head to tail. The member that was yielded last may be removed during the iteration. */
export function* members<N>(list: LinkedList<N>): Generator<N> {
  let member = list.head
  while (member !== undefined) {
    const next = (member as Member<N>).next
    yield member
    member = next
  }
}
