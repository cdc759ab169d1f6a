"""NeCo post-training: views, differentiable sorting, the loss.

``densebench.posttrain(...)`` is the function of the API: the package is callable.
"""

from densebench.host.callable_package import make_callable

make_callable(__name__, "densebench.api", "posttrain")
