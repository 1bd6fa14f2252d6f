// Catches exceptions that are rethrown asynchronously, which would otherwise end the test runner.

/** Runs the callback; returns the uncaught exceptions in the meantime. */
export async function uncaughtDuring(run: () => Promise<void>): Promise<unknown[]> {
  const theirs = process.listeners("uncaughtException");
  const uncaught: unknown[] = [];
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => uncaught.push(error));
  try {
    await run();
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of theirs) process.on("uncaughtException", listener);
  }
  return uncaught;
}
