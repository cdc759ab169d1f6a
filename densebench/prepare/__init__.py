"""From an empty folder to a dataset that is checked: fetched, unpacked, converted, verified."""
