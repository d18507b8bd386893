/** Calls `run` for `span` ms, and gives how often it came about in a millisecond. */
export function spin(run: () => void, span: number): number
