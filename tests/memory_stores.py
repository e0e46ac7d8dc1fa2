"""Stores in memory whose line can be cut, and what was in them after every change."""


class Cut:
    """A store in memory, of which each change is counted, and after some number of them none succeeds.

    Attributes:
        left: how many more changes succeed; None for all.
        states: {name: content} of the store after each change, if it is a list.
    """

    def __init__(self, store, left=None, states=None):
        self.store, self.left, self.states = store, left, states

    def __getattr__(self, name):
        found = getattr(self.store, name)
        if name not in ("pipe_file", "put_file", "rm_file"):
            return found

        def change(*args, **options):
            if self.left is not None:
                if self.left <= 0:
                    raise OSError("the line is dead")
                self.left -= 1
            result = found(*args, **options)
            if self.states is not None:
                self.states.append({name: file.getvalue() for name, file in self.store.store.items()})
            return result

        return change


def filled(store, state):
    """Makes a store in memory what it was: {name: content}."""
    store.store.clear()
    for name, content in state.items():
        store.pipe_file(name, content)
