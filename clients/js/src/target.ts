/** An EventTarget whose events have types. */

/** Listeners get the events of `Events` by their names. */
export interface TypedTarget<Events> extends EventTarget {
  addEventListener<K extends keyof Events & string>(type: K, listener: ((event: Events[K]) => void) | null, options?: AddEventListenerOptions | boolean): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
  removeEventListener<K extends keyof Events & string>(type: K, listener: ((event: Events[K]) => void) | null, options?: EventListenerOptions | boolean): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: EventListenerOptions | boolean): void;
  /** @internal Tells the listeners. */
  _emit(type: string, detail: unknown): void;
}

class Target extends EventTarget {
  _emit(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** An EventTarget whose events have types. */
export const TypedTarget = Target as unknown as { new <Events>(): TypedTarget<Events> };
