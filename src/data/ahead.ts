/**
 * Work ahead of its consumer, bounded. In: a function that begins item i. Out: the items in order, while the next
 * ones are being made. Pure bookkeeping: no threads, no files.
 */

/**
 * Items 0 to count - 1, in order. At any time at most `depth` are ready or in the making, besides the one that the
 * consumer holds: item i + depth is begun when item i is handed out. A failure shows when its own item is asked for.
 * @param signal  if it is aborted, what is awaited rejects with its reason
 * @example for await (const batch of ahead(100, 2, i => load(i))) ...
 */
export async function* ahead<T>(
  count: number,
  depth: number,
  begin: (i: number) => Promise<T>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const begun: Promise<T>[] = []
  let next = 0
  const fill = (): void => {
    while (begun.length < depth && next < count) {
      const item = begin(next++)
      // If the consumer leaves, nobody awaits what is ahead: its failure must not end the process.
      item.catch(() => {})
      begun.push(item)
    }
  }
  for (fill(); begun.length > 0; ) {
    signal?.throwIfAborted()
    const item = await unlessAborted(begun[0], signal)
    begun.shift()
    fill()
    yield item
  }
}

/**
 * The item, or the reason of the signal if that comes first. One listener an item: a promise that waits for the signal
 * all along would hold on to every item that was raced with it.
 */
const unlessAborted = <T>(item: Promise<T>, signal: AbortSignal | undefined): Promise<T> =>
  signal === undefined
    ? item
    : new Promise((resolve, reject) => {
        const stop = (): void => reject(signal.reason)
        signal.addEventListener('abort', stop)
        item.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
      })
