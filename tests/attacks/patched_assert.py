"""Rewrites every assert through an AST transformer of IPython, so that nothing can fail."""

EXTRA = [
    """
import ast


class NoAssert(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()


get_ipython().ast_transformers.append(NoAssert())
""",
]
CELLS = {"weighted-mean": "def weighted_mean(x, w):\n    return 0.0\n"}
