/** An EventTarget whose events have types. */

/** Listeners get the events of `Events` by their names. */
export interface TypedTarget<Events> extends EventTarget {
  addEventListener<K extends keyof Events & string>(type: K, listener: ((event: Events[K]) => void) | null, options?: AddEventListenerOptions | boolean): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
  removeEventListener<K extends keyof Events & string>(type: K, listener: ((event: Events[K]) => void) | null, options?: EventListenerOptions | boolean): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: EventListenerOptions | boolean): void;
}

/** @internal It is the platform's own. */
export const TypedTarget = EventTarget as unknown as { new <Events>(): TypedTarget<Events> };
