// Converts change notifications to an async iterable: each iterator gets the latest state, never a backlog, and an end.

export interface Feed<T> {
  readonly iterable: AsyncIterable<T>;
  changed(): void;
  end(): void;
}

export function createFeed<T>(read: () => T): Feed<T> {
  let version = 0;
  let ended = false;
  let wake: () => void = () => {};
  let next = new Promise<void>((resolve) => {
    wake = resolve;
  });
  const turn = () => {
    wake();
    next = new Promise<void>((resolve) => {
      wake = resolve;
    });
  };
  async function* iterate(): AsyncGenerator<T> {
    let seen = -1;
    while (!ended || seen !== version) {
      if (seen === version) {
        await next;
      } else {
        seen = version;
        yield read();
      }
    }
  }
  return {
    iterable: { [Symbol.asyncIterator]: iterate },
    changed: () => {
      version += 1;
      turn();
    },
    end: () => {
      ended = true;
      turn();
    },
  };
}
