"""Stores in memory whose connection can be cut, and their contents after every change."""


class Cut:
    """A store in memory that counts its changes, and fails all of them after a given number.

    Attributes:
        left: how many more changes succeed; None if all do.
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
    """Restores an earlier content of a store in memory: {name: content}."""
    store.store.clear()
    for name, content in state.items():
        store.pipe_file(name, content)
