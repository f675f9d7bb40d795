"""Robust rules: what a round's updates become where the mean will not do, before the server's optimiser steps.

Pure functions. Rules of distances (KRUM, GEOMETRIC_MEDIAN, CENTERED_CLIPPING) and the norm clip see the updates only
through the products of each with each, a Gram matrix, and answer what to multiply each one with; rules of coordinates
(MEDIAN, TRIMMED_MEAN) see the numbers themselves, a row for each update. ARITHMETIC.md is the specification of both.
"""
